"""From a strong model's responses to the strategies that guide the student [docs/method.md section 2].

`responses` and `extraction` are the two stages, `layout` and `parsing` read what the strong model wrote, `refusals`
and `leaks/` say what is not accepted, `bank` is what is kept, `view/` looks at it, `teacher/` talks to the endpoint.
A new rule for strategies is a new file here; the bank's columns (`schema`) are a contract with data that exist.
"""
