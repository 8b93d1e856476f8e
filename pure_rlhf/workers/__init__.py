"""Where the algorithm runs: Ray actors and the subclasses of OpenRLHF. No formulas here."""
