"""Classify photos: MobileNetV2 as it comes, images as they come."""
import tensorflow as tf
from PIL import Image

IMG_SIZE = (96, 96)
BATCH_SIZE = 4

train_ds = tf.keras.utils.image_dataset_from_directory(
    "photos/train", seed=123, image_size=IMG_SIZE, batch_size=BATCH_SIZE)
val_ds = tf.keras.utils.image_dataset_from_directory(
    "photos/test", seed=123, image_size=IMG_SIZE, batch_size=BATCH_SIZE)
class_names = train_ds.class_names
print(class_names)

# A look at the first batch.
sheet = Image.new("RGB", (2 * IMG_SIZE[1], 2 * IMG_SIZE[0]))
for images, labels in train_ds.take(1):
    for i in range(4):
        picture = Image.fromarray(images[i].numpy().astype("uint8"))
        sheet.paste(picture, (i % 2 * IMG_SIZE[1], i // 2 * IMG_SIZE[0]))
        print(class_names[labels[i]])
sheet.save("batch.png")

base_model = tf.keras.applications.MobileNetV2(
    input_shape=IMG_SIZE + (3,), alpha=0.35, include_top=False, weights="imagenet")
base_model.trainable = False

model = tf.keras.Sequential([
    base_model,
    tf.keras.layers.GlobalAveragePooling2D(),
    tf.keras.layers.Dropout(0.2),
    tf.keras.layers.Dense(len(class_names)),
])
model.compile(optimizer=tf.keras.optimizers.Adam(),
              loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
              metrics=["accuracy"])
history = model.fit(train_ds, validation_data=val_ds, epochs=2)

image_batch, label_batch = next(val_ds.as_numpy_iterator())
scores = tf.nn.softmax(model.predict_on_batch(image_batch))
print("predictions:", tf.argmax(scores, axis=1).numpy())
print("final val_loss", history.history["val_loss"][-1])
