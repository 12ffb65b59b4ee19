"""RecBole, RecTools and ranx: scripts that run in an environment of their own and print one JSON line."""
