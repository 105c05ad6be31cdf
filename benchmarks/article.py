"""What the benchmark `end` runs: tlfast|keras FOLDER SIZE NETWORK frozen|unfrozen EPOCHS MODEL"""

import sys

if sys.argv[1] == "tlfast":
    import tlfast as tf
else:
    import tensorflow as tf

folder, size, network, mode, epochs, target = sys.argv[2:]
shape = (int(size), int(size))
split = {"validation_split": 0.2, "seed": 1, "image_size": shape, "batch_size": 16}
train = tf.keras.utils.image_dataset_from_directory(folder, subset="training", **split)
validation = tf.keras.utils.image_dataset_from_directory(folder, subset="validation", **split)

base = getattr(tf.keras.applications, network)(
    include_top=False, weights=None, input_shape=(*shape, 3)
)
base.trainable = mode == "unfrozen"
inputs = tf.keras.Input((*shape, 3))
x = tf.keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)
x = base(x, training=False) if mode == "frozen" else base(x)
x = tf.keras.layers.GlobalAveragePooling2D()(x)
outputs = tf.keras.layers.Dense(len(train.class_names), activation="softmax")(x)
model = tf.keras.Model(inputs, outputs)
model.compile(
    tf.keras.optimizers.Adam(1e-4), "sparse_categorical_crossentropy", metrics=["accuracy"]
)
model.fit(train, validation_data=validation, epochs=int(epochs), verbose=2)
model.save(target)
