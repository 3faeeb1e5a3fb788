"""The local services of `sgpo up`: `stack` says which, `processes` starts and stops them. Servers are on loopback."""
