"""`/v1/chat/completions`: the language model in the words of OpenAI and Mistral."""
