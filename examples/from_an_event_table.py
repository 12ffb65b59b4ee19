"""
From an event table to recommendations
======================================

I have a table with one row an event: who, what, when. How do I train a recommender on regenerated data and read its
recommendations in my own item names?
"""

# %%
# The table
# ---------
# Any pandas or polars frame, in any order. Here is a small shop's log: every customer goes round one of three circles
# of articles, joins it anywhere, and buys something else now and then.

import numpy as np
import pandas as pd

import seqregen as sr

random = np.random.default_rng(0)
circles = [
    ["kettle", "teapot", "green tea", "cups", "honey"],
    ["grinder", "coffee beans", "filter", "cups", "milk"],
    ["flour", "yeast", "oven glove", "honey", "jam"],
]
catalogue = sorted({article for circle in circles for article in circle})
events = []
for customer in range(300):
    circle, start = circles[customer % len(circles)], random.integers(5)
    for day in range(random.integers(4, 8)):
        article = circle[(start + day) % 5] if random.random() < 0.85 else str(random.choice(catalogue))
        events.append((f"customer {customer}", article, pd.Timestamp("2024-03-01") + pd.Timedelta(days=day)))
log = pd.DataFrame(events, columns=["customer", "article", "bought_at"]).sample(frac=1, random_state=0)
print(log.head())

# %%
# One sequence a customer
# -----------------------
# Sorted by time; labels stay as they are.

sequences = sr.SequenceDataset.from_frame(log, user="customer", item="article", time="bought_at")
print(sequences)
print(sequences.users[0], "bought", sequences[0].tolist())

# %%
# Which habits are in it?
# -----------------------
# A pattern is an ordered piece of a sequence, gaps allowed, that several customers share.

miner = sr.PatternMiner(window=4, min_support=20, random_state=0).fit(sequences)
for pattern, support in list(zip(miner.patterns_.to_lists(), miner.support_, strict=True))[:5]:
    print(f"{support:>4} customers: {' -> '.join(pattern)}")

# %%
# Train, and recommend
# --------------------
# ``RegeneratedRecommender`` holds each customer's last purchase out for early stopping, regenerates the rest, and
# trains on the result. At predict it reads whole histories and regenerates nothing. People come back to the same
# articles in this shop, so what they had already may be recommended.

model = sr.RegeneratedRecommender(
    regeneration=miner,
    recommender=sr.targets.SASRec(
        embedding_dim=16, n_layers=1, learning_rate=1e-2, dropout=0.2, patience=10, random_state=0
    ),
).fit(sequences)
for row, articles in enumerate(model.predict(sequences[:3], k=3, exclude_history=False)):
    print(f"{sequences.users[row]}, after {', '.join(sequences[row])}: {', '.join(articles)}")

# %%
# A customer who was not in the table is a list of articles; an article that was not is ignored with a warning.

print(model.predict([["kettle", "teapot"]], k=3))
