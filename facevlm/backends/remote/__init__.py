"""Models behind an API: OpenAI, Gemini, Azure, vLLM, Ollama and others.

``backend`` is the :class:`~facevlm.backends.Backend`; ``templates`` says what is asked, ``dialects`` say how that is
written for a server and what its answer is, ``replies`` and ``scores`` make labels of it, ``client`` sends and retries,
``limits`` paces, ``ledger`` counts the money, ``cache`` keeps replies. Only ``client`` knows the network.
"""
