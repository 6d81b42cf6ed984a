"""Other session libraries and this one under the same load, faults and attacks: ``make compare``."""
