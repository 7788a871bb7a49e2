#include "ui/pages/compare_own_text.h"

#include <QDir>
#include <QFile>
#include <QFileDialog>
#include <QFileInfo>
#include <QHBoxLayout>
#include <QLabel>
#include <QPlainTextEdit>
#include <QProgressBar>
#include <QPushButton>
#include <QVBoxLayout>
#include <algorithm>

#include "ui/bridge/job_controller.h"
#include "ui/widgets/theme.h"

namespace fettle::ui {

constexpr qint64 kMostFileBytes = 64 * 1024;  // more than kMostTokens of any language
constexpr int kProgressSteps = 1000;

CompareOwnText::CompareOwnText(JobController* jobs, QWidget* parent)
    : QWidget(parent),
      m_jobs(jobs),
      m_text(new QPlainTextEdit(this)),
      m_file(new QPushButton(tr("From a &file…"), this)),
      m_run(new QPushButton(tr("&Score this text"), this)),
      m_cancel(new QPushButton(tr("&Cancel"), this)),
      m_progress(new QProgressBar(this)),
      m_status(makeLabel({}, TextRole::Caption, this)) {
    auto* column = new QVBoxLayout(this);
    column->setContentsMargins(0, 0, 0, 0);
    m_text->setPlaceholderText(tr("Type or paste any text: a prompt of yours, an answer, code."));
    m_text->setAccessibleName(tr("Text to score"));
    m_text->setTabChangesFocus(true);
    m_text->setMaximumHeight(fontMetrics().lineSpacing() * 5 + 12);
    column->addWidget(m_text);
    auto* bar = new QHBoxLayout;
    setStyleClass(m_run, "primary");
    m_progress->setRange(0, kProgressSteps);
    m_progress->setTextVisible(false);
    m_progress->setMaximumWidth(180);
    m_progress->setAccessibleName(tr("Progress of scoring"));
    m_status->setWordWrap(true);
    bar->addWidget(m_run);
    bar->addWidget(m_cancel);
    bar->addWidget(m_file);
    bar->addWidget(m_progress);
    bar->addWidget(m_status, 1);
    column->addLayout(bar);
    connect(m_run, &QPushButton::clicked, this, &CompareOwnText::run);
    connect(m_cancel, &QPushButton::clicked, this, &CompareOwnText::cancel);
    connect(m_file, &QPushButton::clicked, this, &CompareOwnText::chooseFile);
    connect(m_text, &QPlainTextEdit::textChanged, this, &CompareOwnText::updateButtons);
    connect(jobs->engine(), &EngineBridge::jobEvent, this, [this](const JobEvent& event) {
        if (event.job != m_job || m_job == 0) {
            return;
        }
        if (const auto* progress = std::get_if<JobProgress>(&event.body)) {
            m_progress->setValue(
                static_cast<int>(std::clamp(progress->fraction, 0.0, 1.0) * kProgressSteps));
            m_status->setText(QString::fromStdString(progress->phase));
        } else if (std::holds_alternative<JobCancelled>(event.body)) {
            m_job = 0;
            m_scored.reset();
            m_status->setText(tr("Cancelled."));
            updateButtons();
        }
    });
    updateButtons();
}

CompareOwnText::~CompareOwnText() {
    if (m_job != 0) {
        m_jobs->engine()->cancel(m_job);
    }
}

void CompareOwnText::setModels(const std::string& model, const std::string& reference, int context,
                               const QString& problem) {
    if (m_job != 0 && (model != m_model || reference != m_reference)) {
        cancel();  // its answer would be about other models
    }
    m_model = model;
    m_reference = reference;
    m_context = context;
    m_problem = problem;
    m_status->setText(problem);
    updateButtons();
}

void CompareOwnText::updateButtons() {
    const bool ready = m_problem.isEmpty() && !m_model.empty();
    m_run->setVisible(m_job == 0);
    m_cancel->setVisible(m_job != 0);
    m_text->setReadOnly(m_job != 0);
    m_file->setEnabled(m_job == 0);
    m_progress->setVisible(m_job != 0);
    m_run->setEnabled(ready && !m_text->toPlainText().trimmed().isEmpty());
    m_run->setToolTip(m_problem);
}

bool CompareOwnText::readFile(const QString& path) {
    QFile file(path);
    if (!file.open(QIODevice::ReadOnly)) {
        m_status->setText(tr("%1: %2").arg(path, file.errorString()));
        return false;
    }
    const QByteArray bytes = file.read(kMostFileBytes);
    if (bytes.contains('\0')) {
        m_status->setText(tr("%1 is not a text file (it holds zero bytes)").arg(path));
        return false;
    }
    m_text->setPlainText(QString::fromUtf8(bytes));
    m_status->setText(file.atEnd() ? QFileInfo(path).fileName()
                                   : tr("The first %1 KiB of %2")
                                         .arg(kMostFileBytes / 1024)
                                         .arg(QFileInfo(path).fileName()));
    return true;
}

void CompareOwnText::chooseFile() {
    const QString path = QFileDialog::getOpenFileName(this, tr("Text to score"), {},
                                                      tr("Texts (*.txt *.md);;All files (*)"));
    if (!path.isEmpty()) {
        readFile(path);
    }
}

void CompareOwnText::run() {
    if (m_job != 0 || !m_run->isEnabled()) {
        return;
    }
    m_scored = std::make_unique<QTemporaryFile>(
        QDir::temp().filePath(QStringLiteral("fettle-text-XXXXXX.txt")));
    const QByteArray bytes = m_text->toPlainText().toUtf8();
    if (!m_scored->open() || m_scored->write(bytes) != bytes.size() || !m_scored->flush()) {
        m_status->setText(tr("%1: %2").arg(m_scored->fileTemplate(), m_scored->errorString()));
        m_scored.reset();
        return;
    }
    EvaluateRequest request;
    request.modelPath = m_model;
    request.baselinePath = m_reference;
    request.textPath = m_scored->fileName().toStdString();
    request.measure.context = m_context;
    request.measure.maxTokens = kMostTokens;
    request.measure.speed = false;
    m_progress->setValue(0);
    m_status->setText(tr("Waiting…"));
    m_job = m_jobs->ask(
        std::move(request), this,
        [this, model = m_model, reference = m_reference](const JobResult& result) {
            m_job = 0;
            m_scored.reset();
            m_status->setText(m_problem);
            updateButtons();
            const auto* evaluated = std::get_if<EvaluateResult>(&result);
            if (!evaluated || model != m_model || reference != m_reference) {
                return;  // other models were chosen while it ran
            }
            if (evaluated->trace.tokens.empty()) {
                m_status->setText(tr("The text is too short: one token is context only."));
                return;
            }
            emit traceReady(evaluated->trace);
        },
        [this](const ErrorInfo& error) {
            m_job = 0;
            m_scored.reset();
            m_status->setText(QString::fromStdString(error.message));
            updateButtons();
        });
    updateButtons();
}

void CompareOwnText::cancel() {
    if (m_job != 0) {
        m_jobs->engine()->cancel(m_job);
        m_status->setText(tr("Cancelling…"));
    }
}

}  // namespace fettle::ui
