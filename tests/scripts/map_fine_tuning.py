"""Two phases: the head first, then the top of the network at a low rate."""
import tensorflow as tf
from tensorflow.keras.applications.mobilenet_v2 import preprocess_input

AUTOTUNE = tf.data.AUTOTUNE
IMG_SHAPE = (96, 96, 3)
initial_epochs = 1
fine_tune_epochs = 1


def load(folder, shuffle):
    dataset = tf.keras.preprocessing.image_dataset_from_directory(
        folder, label_mode="int", image_size=IMG_SHAPE[:2], batch_size=4, shuffle=shuffle, seed=7)
    names = dataset.class_names
    dataset = dataset.map(lambda x, y: (preprocess_input(x), y), num_parallel_calls=AUTOTUNE)
    return dataset.cache().prefetch(AUTOTUNE), names


train_dataset, class_names = load("photos/train", True)
test_dataset, _ = load("photos/test", False)

base_model = tf.keras.applications.MobileNetV2(
    input_shape=IMG_SHAPE, alpha=0.35, include_top=False, weights="imagenet")
base_model.trainable = False
model = tf.keras.Sequential([
    tf.keras.Input(shape=IMG_SHAPE),
    base_model,
    tf.keras.layers.GlobalAveragePooling2D(),
    tf.keras.layers.Dense(len(class_names), activation="softmax"),
])
model.compile(optimizer=tf.keras.optimizers.Adam(learning_rate=1e-3),
              loss="sparse_categorical_crossentropy", metrics=["accuracy"])
history = model.fit(train_dataset, epochs=initial_epochs, validation_data=test_dataset)

base_model.trainable = True
print("layers in the base model:", len(base_model.layers))
fine_tune_at = 140
for layer in base_model.layers[:fine_tune_at]:
    layer.trainable = False

model.compile(optimizer=tf.keras.optimizers.RMSprop(learning_rate=1e-5),
              loss="sparse_categorical_crossentropy", metrics=["accuracy"])
print("trainable variables:", len(model.trainable_variables))
history_fine = model.fit(
    train_dataset, epochs=initial_epochs + fine_tune_epochs,
    initial_epoch=history.epoch[-1] + 1, validation_data=test_dataset,
    callbacks=[tf.keras.callbacks.ReduceLROnPlateau(monitor="val_loss", patience=1)])
acc = history.history["accuracy"] + history_fine.history["accuracy"]
print("epochs:", len(acc))

try:
    import matplotlib.pyplot as plt
except ImportError:
    plt = None
if plt is not None:
    plt.plot(acc)
    plt.savefig("accuracy.png")
