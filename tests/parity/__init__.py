"""Recorded values of the authors' code, of transcriptions and of other libraries, against ours."""
