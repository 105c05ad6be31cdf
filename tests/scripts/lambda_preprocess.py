"""preprocess_input in a Lambda layer; class names from the folders."""
import os

import keras
import numpy as np
import tensorflow.keras.backend as K
from keras.applications.mobilenet_v2 import MobileNetV2, preprocess_input
from keras.layers import Dense, GlobalAveragePooling2D, Input, Lambda
from keras.models import Model
from keras.regularizers import l2

K.clear_session()
TRAIN_DIR = "photos/train"
IMAGE_SIZE = [96, 96]
class_names = os.listdir(TRAIN_DIR)

train = keras.utils.image_dataset_from_directory(
    TRAIN_DIR, label_mode="categorical", image_size=tuple(IMAGE_SIZE), batch_size=4)
test = keras.utils.image_dataset_from_directory(
    "photos/test", label_mode="categorical", image_size=tuple(IMAGE_SIZE), batch_size=4,
    shuffle=False)

base = MobileNetV2(alpha=0.35, include_top=False, weights="imagenet", input_shape=(96, 96, 3))
base.trainable = False
i = Input(shape=IMAGE_SIZE + [3])
x = Lambda(preprocess_input, name="preprocess")(i)
x = base(x)
x = GlobalAveragePooling2D()(x)
x = Dense(len(class_names), activation="softmax", kernel_regularizer=l2(0.001))(x)
model = Model(i, x)
model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
model.fit(train, validation_data=test, epochs=2, verbose=2)

predicted = np.argmax(model.predict(test, verbose=0), axis=1)
true = np.concatenate([np.argmax(y, axis=1) for _, y in test])
matrix = np.zeros((len(class_names), len(class_names)), int)
for t, p in zip(true, predicted):
    matrix[t, p] += 1
print(matrix)
