"""tlfast: transfer learning for image classifiers, fast on CPUs."""
