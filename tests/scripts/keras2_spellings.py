"""As it was written for Keras 2."""
from keras.applications.mobilenet_v2 import MobileNetV2, preprocess_input
from keras.callbacks import ReduceLROnPlateau
from keras.layers import Dense, GlobalAveragePooling2D
from keras.layers.core import Dropout
from keras.models import Model
from keras.optimizers import adam_v2
from keras.preprocessing.image import ImageDataGenerator
from keras.utils.np_utils import to_categorical

gen = ImageDataGenerator(preprocessing_function=preprocess_input, horizontal_flip=True)
train = gen.flow_from_directory("photos/train", target_size=(96, 96), batch_size=4)
test = ImageDataGenerator(preprocessing_function=preprocess_input).flow_from_directory(
    "photos/test", target_size=(96, 96), batch_size=4, shuffle=False)

base = MobileNetV2(input_shape=(96, 96, 3), alpha=0.35, weights="imagenet", include_top=False)
for layer in base.layers:
    layer.trainable = False
x = GlobalAveragePooling2D()(base.output)
x = Dropout(0.5)(x)
model = Model(input=base.input, output=Dense(2, activation="softmax")(x))
model.compile(loss="categorical_crossentropy", optimizer=adam_v2.Adam(lr=1e-3), metrics=["acc"])
history = model.fit_generator(
    train, steps_per_epoch=len(train), epochs=2, validation_data=test,
    validation_steps=len(test), callbacks=[ReduceLROnPlateau(monitor="val_acc", patience=1)])
print("val_acc:", history.history["val_acc"][-1])
print(to_categorical(test.classes, 2).shape, model.evaluate_generator(test)[0] > 0)
