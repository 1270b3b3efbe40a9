"""Lists and truth become numbers with intervals, beside what each model cost."""
