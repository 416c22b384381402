"""Language tools: what measures language models and what tells languages apart; each room wants its own packages."""
