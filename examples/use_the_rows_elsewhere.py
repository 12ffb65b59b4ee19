"""
Bring your regenerated data to RecBole and RecTools
===================================================

I train my models in another library. Can I train them on regenerated rows?

Yes: a regenerated dataset is only more rows. What takes care is the protocol: hold your test items out *before* you
regenerate, for a row that was made of a whole history may show its end.
"""

# %%
# Regenerate
# ----------

import tempfile
from pathlib import Path

from sklearn.pipeline import make_pipeline

import seqregen as sr

sequences = sr.datasets.make_sequences(n_sequences=300, n_items=60, random_state=0)
X, y = sr.model_selection.leave_one_out(sequences, validation=True)
regeneration = make_pipeline(
    sr.PatternMiner(random_state=0),
    sr.DatasetRegenerator(
        n_memories=2, embedding_dim=32, item_embeddings=None, max_epochs=6, learning_rate=3e-3, random_state=0
    ),
)
regenerated = regeneration.fit_transform(X)
print(regenerated)

# %%
# These rows were made without a look at what is held out, ``y`` and ``X.validation``. Each says where it comes from,
# so you may keep some of them only.

for origin in sr.Origin:
    print(f"{origin.name.lower():<12}{int((regenerated.origin == origin).sum()):>6} rows")
without_generated = regenerated[regenerated.origin != sr.Origin.REGENERATED]

# %%
# RecBole
# -------
# One atomic file, ``<data_path>/<dataset>/<dataset>.inter``. Rows become users there, numbered from 1, and the place
# in a row becomes the time. Mind that RecBole's own leave-one-out split holds out the last items of *every* row,
# added rows included: what it reports on this file is not the score of your users. For that, let the trained model
# score ``X.histories()`` and rank ``y`` among all items.

directory = Path(tempfile.mkdtemp())
regenerated.to_recbole(directory, "shop-regenerated")
written = directory / "shop-regenerated" / "shop-regenerated.inter"
print("\n".join(written.read_text().splitlines()[:4]))

# %%
# RecTools
# --------
# The frame of interactions that ``rectools.dataset.Dataset.construct`` reads.

frame = regenerated.to_rectools()
print(frame.head())

# %%
# Anything else
# -------------
# A frame with one row an interaction, its origin and its source row; lists of labels; or one Parquet file, which
# keeps every column and gives the same dataset back.

print(without_generated.to_frame().tail(3))
regenerated.to_parquet(directory / "regenerated.parquet")
print(sr.SequenceDataset.read_parquet(directory / "regenerated.parquet") == regenerated)
