"""Where the loop runs that shows faces to a model: pictures read ahead, answers written behind, every face counted."""
