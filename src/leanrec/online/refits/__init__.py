"""Refits of a served model on its log, judged on the newest events and proposed to people."""
