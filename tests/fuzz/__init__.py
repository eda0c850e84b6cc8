"""Fuzz: what is opened is damaged in ten thousand ways; each is read or refused in a sentence.

    damages    bytes cut and flipped, values of a JSON file exchanged
    pictures tables shards runs    good inputs of each kind, and how each is mutated
    opening    opens an input as a user would, and looks at what comes out
    worker     a process that does so under limits, watched for what it must not do
    hunt       `make fuzz`: thousands of inputs on two workers, and what was found

An input follows from its number alone, so that a finding can be made again.
"""
