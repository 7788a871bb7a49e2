#include "ui/pages/compare_answers.h"

#include <QEvent>
#include <QFrame>
#include <QLabel>
#include <QScrollArea>
#include <QVBoxLayout>
#include <algorithm>

#include "ui/models/text_divergence.h"
#include "ui/widgets/theme.h"

namespace fettle::ui {
namespace {

const SampleText* answerTo(const ComparedExperiment& one, const std::string& prompt) {
    const auto found = std::find_if(one.detail.samples.begin(), one.detail.samples.end(),
                                    [&](const SampleText& s) { return s.prompt == prompt; });
    return found == one.detail.samples.end() ? nullptr : &*found;
}

}  // namespace

CompareAnswers::CompareAnswers(QWidget* parent) : QWidget(parent) {
    auto* outer = new QVBoxLayout(this);
    outer->setContentsMargins(0, kGap, 0, 0);
    auto* scroll = new QScrollArea(this);
    scroll->setWidgetResizable(true);
    scroll->setFrameShape(QFrame::NoFrame);
    auto* page = new QWidget(scroll);
    setStyleClass(page, "page");
    m_column = new QVBoxLayout(page);
    m_column->setContentsMargins(0, 0, 0, 0);
    scroll->setWidget(page);
    outer->addWidget(scroll);
}

void CompareAnswers::setExperiments(const ComparedExperiments& experiments) {
    m_experiments = experiments;
    rebuild();
}

void CompareAnswers::rebuild() {
    delete m_content;
    m_content = new QWidget(this);
    m_column->addWidget(m_content);
    auto* column = new QVBoxLayout(m_content);
    column->setContentsMargins(0, 0, 0, 0);
    column->setSpacing(kGapWide);
    std::vector<std::string> prompts;
    for (const ComparedExperiment& one : m_experiments) {
        for (const SampleText& sample : one.detail.samples) {
            if (std::find(prompts.begin(), prompts.end(), sample.prompt) == prompts.end()) {
                prompts.push_back(sample.prompt);
            }
        }
    }
    if (prompts.empty()) {
        auto* note = makeLabel(tr("None of these experiments kept an answer. Give an evaluation "
                                  "text when you run a recipe: its beginning is the prompt."),
                               TextRole::Caption, m_content);
        note->setWordWrap(true);
        column->addWidget(note);
    }
    for (const std::string& prompt : prompts) {
        column->addWidget(makePrompt(prompt));
    }
    column->addStretch();
}

QWidget* CompareAnswers::makePrompt(const std::string& prompt) {
    auto* box = new QWidget(m_content);
    auto* column = new QVBoxLayout(box);
    column->setContentsMargins(0, 0, 0, 0);
    column->setSpacing(kGap);
    column->addWidget(makeLabel(tr("Prompt"), TextRole::Caption, box));
    auto* text = makeLabel(QString::fromStdString(prompt), TextRole::Body, box);
    text->setWordWrap(true);
    text->setTextInteractionFlags(Qt::TextSelectableByMouse);
    column->addWidget(text);
    auto* row = new QHBoxLayout;
    row->setSpacing(kGap);
    for (std::size_t i = 0; i < m_experiments.size(); ++i) {
        row->addWidget(makeAnswer(i, prompt), 1);
    }
    column->addLayout(row);
    return box;
}

QWidget* CompareAnswers::makeAnswer(std::size_t experiment, const std::string& prompt) {
    const ComparedExperiment& one = m_experiments[experiment];
    auto* card = new QFrame(m_content);
    setStyleClass(card, "card");
    auto* column = new QVBoxLayout(card);
    column->setContentsMargins(12, 10, 12, 10);
    auto* title = makeLabel(QStringLiteral("%1 · %2").arg(letterOf(experiment), one.name()),
                            TextRole::Heading, card);
    title->setWordWrap(true);
    column->addWidget(title);
    const SampleText* ours = answerTo(one, prompt);
    const SampleText* first = answerTo(m_experiments.front(), prompt);
    const QString text = ours ? QString::fromStdString(ours->text) : QString();
    const QString reference = first ? QString::fromStdString(first->text) : text;
    auto* answer = new QLabel(card);
    answer->setObjectName(QStringLiteral("answer%1").arg(experiment));
    answer->setWordWrap(true);
    answer->setAlignment(Qt::AlignTop | Qt::AlignLeft);
    answer->setTextFormat(Qt::RichText);
    answer->setTextInteractionFlags(Qt::TextSelectableByMouse);
    QString note;
    if (!ours) {
        note = tr("No answer to this prompt was kept.");
    } else {
        answer->setText(divergenceHtml(text, reference, ChartTheme::fromPalette(palette())));
        const qsizetype at = firstDivergence(text, reference);
        note = experiment == 0 ? tr("What the others are held against")
               : at < 0        ? tr("Word for word the answer of A")
                               : tr("Leaves A's answer after %1 of %2 words")
                              .arg(text.left(at).split(u' ', Qt::SkipEmptyParts).size())
                              .arg(text.split(u' ', Qt::SkipEmptyParts).size());
    }
    auto* caption = makeLabel(note, TextRole::Caption, card);
    caption->setWordWrap(true);
    column->addWidget(caption);
    column->addWidget(answer, 1);
    return card;
}

void CompareAnswers::changeEvent(QEvent* event) {
    QWidget::changeEvent(event);
    if (event->type() == QEvent::PaletteChange && !m_experiments.empty()) {
        // Later: who changes the palette of all widgets is going through a list of them.
        QMetaObject::invokeMethod(
            this, [this] { rebuild(); }, Qt::QueuedConnection);
    }
}

}  // namespace fettle::ui
