"""Log-probabilities, entropy and divergences over the whole vocabulary without its [tokens, vocabulary] logits.

`fused` is what trains: the loss of a token is asked for chunk by chunk and the gradient is there at once; `logprobs`
and `divergence` return values per token with their exact gradient; `shifts` what a person looks at, without one;
`projection` is the chunked product that all share.
Imports torch and nothing of ours; tested in float64 against plain autograd.
"""
