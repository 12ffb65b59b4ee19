"""RecBole and RecTools: scripts that run in an environment of their own and print one JSON line."""
