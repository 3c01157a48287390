"""`/v1/audio/speech`: the synthesizer in the words of OpenAI, vLLM-Omni and Mistral."""
