"""The guide's way: augmentation and preprocessing inside the model."""
import tensorflow as tf
from tensorflow import keras
from tensorflow.keras import layers

AUTOTUNE = tf.data.AUTOTUNE
SIZE = 96

keras.utils.set_random_seed(1)
train_ds, validation_ds = keras.utils.image_dataset_from_directory(
    "photos/train", validation_split=0.25, subset="both", seed=42, label_mode="binary",
    image_size=(SIZE, SIZE), batch_size=4)
train_ds = train_ds.cache().shuffle(100).prefetch(buffer_size=AUTOTUNE)
validation_ds = validation_ds.cache().prefetch(buffer_size=AUTOTUNE)

data_augmentation = keras.Sequential([
    layers.RandomFlip("horizontal"),
    layers.RandomRotation(0.1),
    layers.RandomZoom(0.2),
])
for images, _ in train_ds.take(1):
    augmented = data_augmentation(images, training=True)
    print("augmented:", augmented.numpy().shape)

base_model = keras.applications.MobileNetV2(
    alpha=0.35, weights="imagenet", input_shape=(SIZE, SIZE, 3), include_top=False)
base_model.trainable = False

inputs = keras.Input(shape=(SIZE, SIZE, 3))
x = data_augmentation(inputs)
x = keras.applications.mobilenet_v2.preprocess_input(x)
x = base_model(x, training=False)
x = layers.GlobalAveragePooling2D()(x)
x = layers.Dropout(0.2)(x)
outputs = layers.Dense(1, activation="sigmoid")(x)
model = keras.Model(inputs, outputs)
model.compile(optimizer=keras.optimizers.Adam(1e-3),
              loss=keras.losses.BinaryCrossentropy(),
              metrics=[keras.metrics.BinaryAccuracy(name="accuracy")])
model.fit(train_ds, epochs=2, validation_data=validation_ds)
loss, accuracy = model.evaluate(validation_ds)
print(f"loss {loss:.3f}, accuracy {accuracy:.3f}")
