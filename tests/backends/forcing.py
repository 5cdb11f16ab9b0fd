"""What the scorer is compared with: transformers' own processor, and one plain forward pass for each answer.

Nothing here goes through facevlm: prompts and pictures are written by the composite processor of the model's
family, answers stand behind the prompt one at a time, and the model masks and counts as it sees fit.
"""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import torch
import transformers as tf
from PIL import Image
from torch import Tensor

from facevlm.types import Question

LLAVA = {"patch_size": 8, "num_additional_image_tokens": 1, "vision_feature_select_strategy": "default"}
NO_EXTRA_TOKEN = {"num_additional_image_tokens": 0, "vision_feature_select_strategy": "full"}
# The composite processors of these families demand a video processor, which is there only with torchvision. None of
# them touches it for a still picture, except that SmolVLM's chat template wants the two numbers.
VIDEO = {"video_processor": SimpleNamespace(num_frames=1, fps=1, model_input_names=[])}
PROCESSORS: dict[str, tuple[str, dict[str, Any]]] = {
    "paligemma": ("PaliGemmaProcessor", {}),
    "llava": ("LlavaProcessor", LLAVA),
    "llava_next": ("LlavaNextProcessor", LLAVA),
    "qwen2_vl": ("Qwen2VLProcessor", VIDEO),
    "qwen2_5_vl": ("Qwen2_5_VLProcessor", VIDEO),
    "qwen3_vl": ("Qwen3VLProcessor", VIDEO),
    "idefics3": ("Idefics3Processor", {"image_seq_len": 4}),
    "smolvlm": ("SmolVLMProcessor", {"image_seq_len": 4, **VIDEO}),
    "gemma3": ("Gemma3Processor", {"image_seq_length": 4}),
    "internvl": ("InternVLProcessor", {"image_seq_length": 4, **VIDEO}),
    "florence2": ("Florence2Processor", {}),
}
BLANK_OR_NOT = ("", " ")
LEADS = dict.fromkeys(("llava", "llava_next", "idefics3", "smolvlm"), BLANK_OR_NOT)
"""What may stand before an answer: the prompts of these end in a word, those of all others in a line end."""
TYPE_OF_ANSWER = {"token_type_ids": {"paligemma": 1}}
"""PaliGemma's processor marks what is to be answered by 1; other kinds of types mark pictures, words are 0."""


def processor_of(folder: Path) -> Any:
    """The composite processor of a folder: as it was saved, or made of the image processor and tokenizer in it."""
    if (folder / "processor_config.json").is_file():
        return tf.AutoProcessor.from_pretrained(folder, backend="pil")
    config = json.loads((folder / "config.json").read_text())
    model_type = config["model_type"]
    name, options = PROCESSORS[model_type]
    if model_type == "llava" and config["vision_config"]["model_type"] == "siglip_vision_model":
        options = {**options, **NO_EXTRA_TOKEN}
    module = importlib.import_module(f"transformers.models.{model_type}.processing_{model_type}")
    tokenizer = tf.AutoTokenizer.from_pretrained(folder)
    pictures = tf.AutoImageProcessor.from_pretrained(folder, backend="pil")
    with (
        mock.patch.object(tf.ProcessorMixin, "check_argument_for_proper_class"),
        mock.patch.object(module, "num2words", str, create=True),
    ):
        made = getattr(module, name)(
            image_processor=pictures, tokenizer=tokenizer, chat_template=tokenizer.chat_template, **options
        )
    return made


@dataclass(frozen=True, repr=False)
class Reference:
    """A model and its processor as transformers loads them.

    ``ends`` are the tokens that end an answer, ``options`` are for the image processor.
    """

    model: Any
    processor: Any
    ends: tuple[int, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    _tables: dict[tuple[int, int], tuple[Image.Image, Question, Mapping[tuple[int, ...], Tensor]]] = field(
        default_factory=dict, init=False
    )

    @property
    def kind(self) -> str:
        return str(self.model.config.model_type)

    def rendered(self, text: str) -> str:
        """The prompt as the processor takes it."""
        if self.kind == "paligemma":
            return "<image>" + text
        if self.kind == "florence2":
            return text
        content = [{"type": "image"}, {"type": "text", "text": text}]
        said: str = self.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        return said

    def inputs(self, images: Sequence[Image.Image], text: str, answer: str = "") -> dict[str, Tensor]:
        """The model's arguments for one question about some pictures, padded on the left; with what a chat goes on."""
        self.processor.tokenizer.padding_side = "left"
        rendered = self.rendered(text) + answer
        begin = self.processor.tokenizer.bos_token
        written = {"add_special_tokens": False} if begin and rendered.startswith(begin) else {}
        found = self.processor(
            text=[rendered] * len(images),
            images=[[image] for image in images],
            padding=len(images) > 1,
            return_tensors="pt",
            **written,
            **self.options,
        )
        return {name: tensor for name, tensor in found.items() if name != "labels"}

    def answer_ids(self, text: str) -> tuple[int, ...]:
        return tuple(self.processor.tokenizer(text, add_special_tokens=False)["input_ids"])

    def forms(self, strings: Sequence[str], cue: str = "") -> list[tuple[int, ...]]:
        """The token sequences that spell any of the strings, each once."""
        leads = ("",) if cue.endswith(" ") else LEADS.get(self.kind, ("",))
        return list(dict.fromkeys(self.answer_ids(lead + string) for string in strings for lead in leads))

    def forced(self, inputs: Mapping[str, Tensor], answer: Sequence[int]) -> Tensor:
        """Log-probabilities (len(answer) + 1, vocabulary) of what stands at each token of the answer and behind it."""
        said = torch.tensor([list(answer)], dtype=torch.long)
        if self.model.config.is_encoder_decoder:
            known = self.model.generation_config
            begin = torch.tensor([[known.decoder_start_token_id, known.forced_bos_token_id]])
            more = {**inputs, "decoder_input_ids": torch.cat([begin, said], 1)}
        else:
            rows = len(inputs["input_ids"])
            more = {**inputs, "input_ids": torch.cat([inputs["input_ids"], said.expand(rows, -1)], 1)}
            more["attention_mask"] = torch.ones_like(more["input_ids"])
            for name in ("token_type_ids", "mm_token_type_ids"):
                if name in inputs:
                    value = TYPE_OF_ANSWER.get(name, {}).get(self.kind, 0)
                    more[name] = torch.cat([inputs[name], torch.full_like(said, value)], 1)
        logits: Tensor = self.model(**more, use_cache=False).logits
        return logits[0, -len(answer) - 1 :].float().log_softmax(-1)

    def tables(self, image: Image.Image, question: Question) -> Mapping[tuple[int, ...], Tensor]:
        """What :meth:`forced` gives behind the cue, for each way of saying a label."""
        # Both are kept, so that no others get their ids.
        key = (id(image), id(question))
        if key not in self._tables:
            inputs = self.inputs([image], question.context or question.text)
            cue = self.answer_ids(question.cue) if question.cue else ()
            forms = [form for strings in question.surface_forms for form in self.forms(strings, question.cue)]
            with torch.inference_mode():
                forced = {form: self.forced(inputs, (*cue, *form))[len(cue) :] for form in forms}
            self._tables[key] = (image, question, forced)
        return self._tables[key][2]

    def log_probs(self, image: Image.Image, question: Question) -> list[float]:
        """Log-probability of every label, by one pass for each way of saying it."""
        tables = self.tables(image, question)
        labels = []
        for strings in question.surface_forms:
            totals = []
            for form in self.forms(strings, question.cue):
                table = tables[form]
                spelled = float(table[range(len(form)), list(form)].sum())
                totals += [spelled + float(table[-1, end]) for end in self.ends]
            labels.append(float(np.logaddexp.reduce(totals)))
        return labels

    def chosen(self, image: Image.Image, question: Question) -> int:
        """The label that greedy decoding arrives at when it may say nothing but labels, one token at a time."""
        tables = self.tables(image, question)
        owners = {
            (*form, end): label
            for label, strings in enumerate(question.surface_forms)
            for form in self.forms(strings, question.cue)
            for end in self.ends
        }
        said: tuple[int, ...] = ()
        while said not in owners:
            # What follows is the same for all that begin alike: no token sees those behind it.
            table = next(table[len(said)] for form, table in tables.items() if form[: len(said)] == said)
            allowed = sorted({whole[len(said)] for whole in owners if whole[: len(said)] == said})
            said = (*said, max(allowed, key=lambda token: float(table[token])))
        return owners[said]

    def written(self, image: Image.Image, text: str, answer: str) -> tuple[int, ...]:
        """The tokens behind a prompt when prompt and answer are written as one text, as they are for tuning."""
        prompt = self.inputs([image], text)["input_ids"][0].tolist()
        if self.kind == "florence2":
            return tuple(self.processor.tokenizer(answer)["input_ids"][1:-1])
        if self.kind == "paligemma":
            tuned = self.processor(text=[self.rendered(text)], images=[[image]], suffix=[answer])
            whole = tuned["input_ids"][0][:-1]
        else:
            whole = self.inputs([image], text, answer)["input_ids"][0].tolist()
        assert whole[: len(prompt)] == prompt
        return tuple(whole[len(prompt) :])

    def chatted(self, image: Image.Image, text: str) -> list[int]:
        """A chat model's prompt as model cards write it, in one call."""
        content = [{"type": "image", "image": image}, {"type": "text", "text": text}]
        found = self.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=True, return_dict=True
        )
        ids: list[int] = found["input_ids"][0]
        return list(ids)

    def generated(self, images: Sequence[Image.Image], text: str, most: int) -> list[str]:
        """Free answers of so many tokens at the most to a question about some pictures at once.

        Greedy: Florence-2's own settings would search with beams and forbid repeats.
        """
        inputs = self.inputs(images, text)
        forced = 1 if self.model.config.is_encoder_decoder else 0
        with torch.inference_mode():
            out = self.model.generate(
                **inputs, max_new_tokens=most + forced, do_sample=False, num_beams=1, no_repeat_ngram_size=0
            )
        start = 1 + forced if forced else inputs["input_ids"].shape[1]
        said: list[str] = self.processor.tokenizer.batch_decode(out[:, start:], skip_special_tokens=True)
        return [answer.strip() for answer in said]


def open_reference(folder: Path) -> Reference:
    """The reference of a checkpoint folder, in float32."""
    model = tf.AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    ends = model.generation_config.eos_token_id
    return Reference(model, processor_of(folder), tuple(ends) if isinstance(ends, list) else (ends,))


def teach(source: Path, target: Path, text: str, lessons: Mapping[str, Image.Image], steps: int) -> Path:
    """A copy of a checkpoint that was tuned to say each answer about its picture, by plain forward passes.

    Ends early once every answer is likely, so that greedy decoding says it.
    """
    shutil.copytree(source, target)
    reference = open_reference(source)
    model = reference.model
    known = [(reference.inputs([image], text), reference.answer_ids(answer)) for answer, image in lessons.items()]
    learner = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    for _ in range(steps):
        losses = []
        for inputs, answer in known:
            said = torch.tensor([*answer, reference.ends[0]])
            losses.append(torch.nn.functional.nll_loss(reference.forced(inputs, answer), said))
        learner.zero_grad()
        torch.autograd.backward(torch.stack(losses).mean())
        learner.step()
        if max(loss.item() for loss in losses) < 0.05:
            break
    model.save_pretrained(target)
    return target
