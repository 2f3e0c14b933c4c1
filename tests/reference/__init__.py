"""The formulas once more, in NumPy float64, from the papers and not from gradtx: what the tests compare with."""
