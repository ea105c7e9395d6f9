"""Half precision: inputs, weights and outputs of an operator rounded to IEEE half."""
