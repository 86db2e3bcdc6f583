"""The rules that void a cell or a run, or tell a finding."""
