"""Networks of deep models, which a fit alone imports: they need torch."""
