"""Cats and dogs with ImageDataGenerator."""
import os

import numpy as np
from tensorflow.keras.applications import MobileNetV2
from tensorflow.keras.callbacks import EarlyStopping, ModelCheckpoint
from tensorflow.keras.layers import Dense, Flatten
from tensorflow.keras.models import Model, load_model
from tensorflow.keras.preprocessing import image
from tensorflow.keras.preprocessing.image import ImageDataGenerator

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
height, width = 96, 96

train_datagen = ImageDataGenerator(rescale=1./255, shear_range=0.2, zoom_range=0.2,
                                   horizontal_flip=True, validation_split=0.25)
training_set = train_datagen.flow_from_directory(
    "photos/train", target_size=(height, width), batch_size=4, class_mode="categorical",
    subset="training", seed=1)
validation_set = train_datagen.flow_from_directory(
    "photos/train", target_size=(height, width), batch_size=4, class_mode="categorical",
    subset="validation", seed=1)

base = MobileNetV2(input_shape=(height, width, 3), alpha=0.35, weights="imagenet",
                   include_top=False)
for layer in base.layers:
    layer.trainable = False

x = Flatten()(base.output)
prediction = Dense(training_set.num_classes, activation="softmax")(x)
model = Model(inputs=base.input, outputs=prediction)
model.summary()
model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])

r = model.fit(
    training_set, validation_data=validation_set, epochs=2,
    callbacks=[EarlyStopping(monitor="val_loss", patience=3),
               ModelCheckpoint("best.keras", monitor="val_loss", save_best_only=True)])
print(sorted(r.history))

model = load_model("best.keras")
img = image.load_img(validation_set.filepaths[0], target_size=(height, width))
x = np.expand_dims(image.img_to_array(img) / 255, axis=0)
names = {number: name for name, number in training_set.class_indices.items()}
print("it is a", names[int(np.argmax(model.predict(x), axis=1)[0])])
