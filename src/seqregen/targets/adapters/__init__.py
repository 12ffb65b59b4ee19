"""Adapters: models of other libraries, trained on and scored like the models here."""
