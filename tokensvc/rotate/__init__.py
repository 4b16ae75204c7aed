"""The life of our key pairs, performed: looked at, decided, one step at a time, until nothing is due.

Rules of the room
- `core/lifecycle.decide` says what is due; only this room does it. Each step is idempotent and noted before and after
  (`steps.py`); kill the process anywhere, and whoever goes on next ends in the same state (`performer.py`).
- One process performs at a time, under a lease that it prolongs before each step. Losing it is harmless: a step that
  was decided on old news fails on the state it was decided on.
- A region that is new, full or down delays only itself.
- What IVS holds, and how it is told apart from what others hold there, is `survey.py`'s; what people ask for is
  `wishes.py`'s.
"""
