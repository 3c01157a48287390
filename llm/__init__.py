"""Language models behind one interface (`llm.interface`), and the decoder that all our neural engines share."""
