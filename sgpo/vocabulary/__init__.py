"""Log-probabilities, entropy and divergences over the whole vocabulary, without a [tokens, vocabulary] matrix.

`fused` is used in training: it asks for the loss of a token chunk by chunk, and computes the gradient at once.
`logprobs` and `divergence` return values per token with their exact gradient, `shifts` returns values for people to
look at, without gradient; `projection` is the chunked product that all share.
Imports torch and nothing else of sgpo; tested in float64 against plain autograd.
"""
