"""From a strong model's responses to the strategies that guide the student [docs/method.md section 2].

`responses` and `extraction` are the two stages, `layout` and `parsing` read what the strong model wrote, `refusals`
and `leaks/` decide what is refused, `bank` holds what is kept, `view/` shows it, `teacher/` talks to the endpoint.
A new rule for strategies is a new file here; the bank's columns (`schema`) are a contract with existing data.
"""
