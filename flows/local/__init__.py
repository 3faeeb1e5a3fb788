"""The local services of `sgpo up`, on loopback: `stack` lists them, `processes` starts and stops them."""
