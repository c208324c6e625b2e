"""A word is linked once, and what is linked is escaped."""

from flowerti.report.glossary import TERMS, Glossary


def test_only_the_first_use_is_a_link():
    term = Glossary()
    assert str(term("f1", "<F1>")) == '<a class="term" href="#term-f1">&lt;F1&gt;</a>'
    assert str(term("f1")) == "F1"
    assert str(Glossary()("f1")).startswith("<a ")


def test_every_word_has_a_sentence():
    assert all(word and sentence.endswith(".") for word, sentence in TERMS.values())
