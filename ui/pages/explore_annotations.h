// What people say about the selected experiments: tags as chips, with a field for more, and the
// note of a single one. Shows and asks; storing is the page's work. GUI thread only.
#pragma once

#include <QWidget>
#include <vector>

#include "engine/experiment/experiment_record.h"

class QCompleter;
class QLabel;
class QLineEdit;
class QPlainTextEdit;
class QStringListModel;

namespace fettle::ui {

class FlowLayout;

class ExploreAnnotations : public QWidget {
    Q_OBJECT

public:
    explicit ExploreAnnotations(QWidget* parent = nullptr);

    /// A note that is being written survives when the same experiment is shown anew; when another
    /// one comes, it is handed out first.
    void setSelection(const std::vector<const ExperimentRecord*>& records);
    void setReadOnly(bool readOnly);
    /// Offered while a tag is typed.
    void setKnownTags(const QStringList& tags);
    void startTag();
    void startNote();

signals:
    void tagAdded(const QString& tag);
    void tagRemoved(const QString& tag);
    void noteChanged(qint64 id, const QString& note);

protected:
    bool eventFilter(QObject* watched, QEvent* event) override;
    void hideEvent(QHideEvent* event) override;

private:
    void showTags(const std::vector<const ExperimentRecord*>& records);
    void enterTags();
    void commitNote();

    FlowLayout* m_chips;
    QLineEdit* m_tagEdit;
    QStringListModel* m_known;
    QLabel* m_noteCaption;
    QPlainTextEdit* m_note;
    std::vector<qint64> m_ids;
    QStringList m_shownTags;
    QString m_storedNote;
    bool m_readOnly = false;
};

}  // namespace fettle::ui
