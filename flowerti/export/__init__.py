"""What a run made, in the forms of other programs: training sets, tokens, adapters and marked images."""
