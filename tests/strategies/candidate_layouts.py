# ruff: noqa: E501 - a layout reads best on the lines it has
"""How models lay out a strategy: the same one in many layouts, and answers that are none."""

from __future__ import annotations

TYPE = "Sum of an arithmetic series"
APPROACH = "Pair terms from both ends, since every pair has the same sum."
STEPS = ("Find the common difference.", "Count the terms.", "Multiply the pair sum by the number of pairs.")
A, B, C = STEPS

ACCEPTED: dict[str, str] = {
    "as asked": f"Problem type: {TYPE}\nStrategy: {APPROACH}\nSteps:\n1. {A}\n2. {B}\n3. {C}",
    "one line of steps": f"Problem type: {TYPE}\nStrategy: {APPROACH}\nSteps: 1. {A} 2. {B} 3. {C}",
    "all on one line": f"Problem type: {TYPE}. Strategy: {APPROACH} Steps: 1) {A} 2) {B} 3) {C}",
    "markdown headings": f"## Problem Type\n{TYPE}\n\n## Strategy\n{APPROACH}\n\n## Procedural Steps\n1. {A}\n2. {B}\n3. {C}",
    "headings with colon": f"### Problem Type:\n{TYPE}\n### Strategy:\n{APPROACH}\n### Steps:\n- {A}\n- {B}\n- {C}\n",
    "bold labels": f"**Problem Type:** {TYPE}\n\n**Strategy:** {APPROACH}\n\n**Procedural Steps:**\n\n1. {A}\n\n2. {B}\n\n3. {C}",
    "bold, colon outside": f"**Problem type**: {TYPE}\n**Strategy**: {APPROACH}\n**Steps**:\n* {A}\n* {B}\n* {C}",
    "bold without colon": f"**Problem type** {TYPE}\n**Strategy** {APPROACH}\n**Steps**\n1. {A}\n2. {B}\n3. {C}",
    "underscored labels": f"__Problem type:__ {TYPE}\n__Strategy:__ {APPROACH}\n__Steps:__\n1. {A}\n2. {B}\n3. {C}",
    "numbered parts": f"1. **Problem type:** {TYPE}\n2. **Strategy:** {APPROACH}\n3. **Procedural steps:**\n"
    f"   1. {A}\n   2. {B}\n   3. {C}",
    "numbered parts, lettered steps": f"1. Problem Type: {TYPE}\n2. Strategy: {APPROACH}\n3. Steps:\n   a. {A}\n   b. {B}\n   c. {C}",
    "lettered parts": f"(a) Problem type — {TYPE}\n(b) Strategy — {APPROACH}\n(c) Procedural steps —\n(i) {A}\n(ii) {B}\n(iii) {C}",
    "part numbers": f"Part 1: Problem type: {TYPE}\nPart 2: Strategy: {APPROACH}\nPart 3: Steps:\n1) {A}\n2) {B}\n3) {C}",
    "parenthesised hints": f"**Problem type (category):** {TYPE}\n**Strategy (principle or theorem):** {APPROACH}\n"
    f"**Procedural steps (ordered):**\n1. {A}\n2. {B}\n3. {C}",
    "step words": f"Problem type: {TYPE}\nStrategy: {APPROACH}\nProcedural steps:\nStep 1: {A}\nStep 2: {B}\nStep 3: {C}",
    "bold step words": f"Problem type: {TYPE}\nStrategy: {APPROACH}\nSteps:\n**Step 1:** {A}\n**Step 2:** {B}\n**Step 3:** {C}",
    "bulleted bold steps": f"- **Problem type:** {TYPE}\n- **Strategy:** {APPROACH}\n- **Steps:**\n"
    f"  - **Step 1**: {A}\n  - **Step 2**: {B}\n  - **Step 3**: {C}",
    "headed steps": f"# Problem type\n{TYPE}\n# Strategy\n{APPROACH}\n# Steps\n### Step 1\n{A}\n### Step 2\n{B}\n### Step 3\n{C}",
    "plain lines": f"Problem type: {TYPE}\nStrategy: {APPROACH}\nSteps:\n{A}\n{B}\n{C}",
    "wrapped lines": "Problem type: Sum of an\n  arithmetic series\nStrategy: Pair terms from both ends,\n  since every pair has the "
    f"same sum.\nSteps:\n1. {A}\n2. Count\n   the terms.\n3. Multiply the pair sum\n   by the number of pairs.",
    "unicode bullets": f"Problem type: {TYPE}\nStrategy: {APPROACH}\nSteps:\n• {A}\n• {B}\n• {C}",
    "keycap numbers": f"🔹 **Problem Type:** {TYPE}\n🔹 **Strategy:** {APPROACH}\n🔹 **Steps:**\n1️⃣ {A}\n2️⃣ {B}\n3️⃣ {C}",
    "block quote": f"> **Problem type:** {TYPE}\n> **Strategy:** {APPROACH}\n> **Steps:**\n> 1. {A}\n> 2. {B}\n> 3. {C}",
    "fenced": f"Here is the strategy:\n\n```markdown\nProblem type: {TYPE}\nStrategy: {APPROACH}\nSteps:\n1. {A}\n2. {B}\n3. {C}\n```",
    "after thinking": f"<think>\nProblem type: no, wait. Steps: 1. add them all\n</think>\n\nProblem type: {TYPE}\n"
    f"Strategy: {APPROACH}\nSteps:\n1. {A}\n2. {B}\n3. {C}",
    "thinking without its start": f"So I pair terms, 101 each.\n</think>\n**Problem type:** {TYPE}\n**Strategy:** {APPROACH}\n"
    f"**Steps:**\n1. {A}\n2. {B}\n3. {C}",
    "introduction and closing remark": "Sure! Here is a reusable strategy description.\n\n---\n\n"
    f"**Problem type:** {TYPE}\n\n**Strategy:** {APPROACH}\n\n**Procedural steps:**\n\n1. {A}\n2. {B}\n3. {C}\n\n---\n\n"
    "This approach works for any series with a constant difference.",
    "title named strategy": f"# Strategy: pairing\n\n**Problem type:** {TYPE}\n\n**Strategy:** {APPROACH}\n\n**Steps:**\n"
    f"1. {A}\n2. {B}\n3. {C}",
    "other words for the labels": f"Type of problem: {TYPE}\nKey technique: {APPROACH}\nProcedure:\n1. {A}\n2. {B}\n3. {C}",
    "strategy and principle": f"Problem Category: {TYPE}\nStrategy / Principle: {APPROACH}\nHigh-level steps:\n1. {A}\n2. {B}\n3. {C}",
    "table": f"| Part | Content |\n|---|---|\n| **Problem type** | {TYPE} |\n| **Strategy** | {APPROACH} |\n"
    f"| **Steps** | 1. {A}<br>2. {B}<br>3. {C} |",
    "tags": f"<problem_type>{TYPE}</problem_type>\n<strategy>{APPROACH}</strategy>\n<steps>\n<step>{A}</step>\n<step>{B}</step>\n"
    f"<step>{C}</step>\n</steps>",
    "LaTeX bold": f"\\textbf{{Problem type:}} {TYPE}\n\\textbf{{Strategy:}} {APPROACH}\n\\textbf{{Steps:}}\n1. {A}\n2. {B}\n3. {C}",
    "arrows": f"Problem type: {TYPE}\nStrategy: {APPROACH}\nSteps: {A} → {B} → {C}",
    "windows line ends": f"Problem type: {TYPE}\r\nStrategy: {APPROACH}\r\nSteps:\r\n1. {A}\r\n2. {B}\r\n3. {C}\r\n",
    "upper-case labels": f"PROBLEM TYPE: {TYPE}\nSTRATEGY: {APPROACH}\nPROCEDURAL STEPS:\n1. {A}\n2. {B}\n3. {C}",
    "steps first": f"Procedural steps:\n1. {A}\n2. {B}\n3. {C}\n\nProblem type: {TYPE}\nStrategy: {APPROACH}",
    "JSON": f'{{"problem_type": "{TYPE}", "strategy": "{APPROACH}", "steps": ["{A}", "{B}", "{C}"]}}',
    "fenced JSON": f'Here you go:\n```json\n{{\n  "problem_type": "{TYPE}",\n  "strategy": "{APPROACH}",\n'
    f'  "procedural_steps": [\n    "1. {A}",\n    "2. {B}",\n    "3. {C}",\n  ]\n}}\n```',
    "JSON after thinking": f'<think>a set {{1, 2}} …</think>{{"Problem Type": "{TYPE}", "Strategy": "{APPROACH}", '
    f'"Procedural Steps": "1. {A}\\n2. {B}\\n3. {C}"}}',
    "wrapped JSON": f'{{"strategy": {{"type": "{TYPE}", "approach": "{APPROACH}", '
    f'"steps": [{{"step": 1, "description": "{A}"}}, {{"step": 2, "description": "{B}"}}, {{"step": 3, "description": "{C}"}}]}}}}',
    "JSON with numbered keys": f'{{"problem_type": "{TYPE}", "strategy": "{APPROACH}", "steps": {{"1": "{A}", "2": "{B}", "3": "{C}"}}}}',
}

REFUSED: dict[str, tuple[str, str]] = {
    "nothing": ("empty", "  \n "),
    "only thinking": ("empty", "<think>pair the terms</think>\n"),
    "thinking that never ends": ("truncated", "<think>\nLet me see. The problem type: series. I should pair"),
    "apology": ("not_a_strategy", "I'm sorry, but I can't help with that."),
    "a solution": ("not_a_strategy", "We pair 1 and 100, 2 and 99, … so the sum is 50 · 101 = 5050."),
    "JSON cut off": ("not_a_strategy", f'{{"problem_type": "{TYPE}", "strategy": "Pair terms fr'),
    "JSON of something else": ("not_a_strategy", '{"answer": 5050}'),
    "no problem type": ("missing_problem_type", f"Strategy: {APPROACH}\nSteps:\n1. {A}\n2. {B}"),
    "no strategy": ("missing_strategy", f"Problem type: {TYPE}\nSteps:\n1. {A}\n2. {B}"),
    "no steps": ("missing_steps", f"Problem type: {TYPE}\nStrategy: {APPROACH}\n"),
    "label without steps": ("missing_steps", f"Problem type: {TYPE}\nStrategy: {APPROACH}\nSteps:\n"),
    "one step": ("missing_steps", f"Problem type: {TYPE}\nStrategy: {APPROACH}\nSteps:\n1. {A}"),
    "JSON without steps": ("missing_steps", f'{{"problem_type": "{TYPE}", "strategy": "{APPROACH}", "steps": []}}'),
    "two strategies": (
        "several_strategies",
        f"Problem type: {TYPE}\nStrategy: {APPROACH}\nSteps:\n1. {A}\n2. {B}\n\nProblem type: Series\nStrategy: Add.\nSteps:\n1. {A}",
    ),
    "two JSON objects": (
        "several_strategies",
        f'[{{"type": "{TYPE}", "strategy": "x y", "steps": ["{A}", "{B}"]}}, {{"type": "t", "strategy": "u", "steps": ["{C}"]}}]',
    ),
    "the layout repeated": ("placeholder", "Problem type: ...\nStrategy: ...\nSteps:\n1. ...\n2. ..."),
    "brackets repeated": ("placeholder", f"Problem type: [problem type]\nStrategy: {APPROACH}\nSteps:\n1. {A}\n2. {B}"),
    "cut in mid-sentence": (
        "truncated",
        f"Problem type: {TYPE}\nStrategy: {APPROACH}\nSteps:\n1. {A}\n2. Multiply the sum by the",
    ),
    "cut after a comma": ("truncated", f"Problem type: {TYPE}\nStrategy: {APPROACH}\nSteps:\n1. {A}\n2. Multiply,"),
    "far too long": ("too_long", f"Problem type: {TYPE}\n" + "x " * 60_000),
}
