"""Made-up texts that a checkpoint is asked again later: plain ones, and such as are hard to cut or to decode.

None is from any data set, so that none is ever learned from. It knows texts, no labels.
"""

from __future__ import annotations

from annotations.document import Document

TARGETS = ("The bridge over the Orla has been closed.", "It closed.")
"""What targeted layers are asked about: the first that a tagger's windows have room for."""

SENTENCES = (
    "General Mirela Drosk told Harbour Radio on Tuesday that her troops had left Vessin.",
    "The Orla bridge was closed at noon, according to the Ministry of Roads.",
    "Nobody in the town confirmed it.",
    '"We never closed it," said Ilo Tansen, who speaks for the River Front.',
)

TEXTS = {
    "plain": " ".join(SENTENCES[:2]),
    "denial": " ".join(SENTENCES[2:]),
    "paragraphs": "River Front leaves Vessin\n\nBy Ada Quill\r\n\r\n" + "\n".join(SENTENCES),
    "emoji": "😀 Ilo Tansen 👩‍👩‍👧 met 🇦🇫 the River Front in Vessin ✌🏽. Harbour Radio: “closed” 🚧!",
    "right to left": "أُغلق الجسر يوم الثلاثاء. הגשר נסגר ביום שלישי. The Orla bridge was closed.",
    "odd characters": "\ufeffVes\u00adsin\u200b and Cafe\u0301 Orla\u00a0met\u2028on 3\u202f000 m.\x00 The end",
    "one endless word": "Vessin" * 150,
    "long": " ".join(f"Day {number}: {SENTENCES[number % len(SENTENCES)]}" for number in range(60)),
    "white space": " \r\n\t\u2003",
    "empty": "",
}


def probes(target: str | None) -> list[Document]:
    """The probe texts as documents, read against a target or none."""
    return [Document(id=f"probe: {name}", text=text, target=target) for name, text in TEXTS.items()]
