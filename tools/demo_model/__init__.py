"""How the shipped demo model was trained: data, teacher, distillation, answers."""
