"""Tables, figures and report files from results; no training in here."""
