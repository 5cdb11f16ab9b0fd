"""Models behind an API that speaks the OpenAI chat protocol: OpenAI, Gemini, Azure, vLLM, Ollama and others.

``backend`` is the :class:`~facevlm.backends.Backend`; ``templates`` words a request, ``replies`` and ``scores`` read
the answer, ``client`` sends and retries, ``limits`` paces, ``ledger`` counts the money, ``cache`` keeps replies. Only
``client`` knows the network.
"""
