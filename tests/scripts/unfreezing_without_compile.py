"""Fine-tuning that changes nothing in Keras, and a loss that expects logits."""
from tensorflow import keras

mobilenet = keras.applications.mobilenet_v2
train = keras.utils.image_dataset_from_directory(
    "photos/train", image_size=(96, 96), batch_size=4, seed=3)

base = keras.applications.MobileNetV2(
    input_shape=(96, 96, 3), alpha=0.35, include_top=False, weights="imagenet", pooling="avg")
base.trainable = False
inputs = keras.Input((96, 96, 3))
features = base(mobilenet.preprocess_input(inputs))
outputs = keras.layers.Dense(2, activation="softmax")(features)
model = keras.Model(inputs, outputs)
model.compile(
    optimizer=keras.optimizers.SGD(0.01, momentum=0.9),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
model.fit(train, epochs=1)

for layer in base.layers[-10:]:
    layer.trainable = True
model.fit(train, epochs=1)
print("trainable:", len(model.trainable_weights))
