#include "ui/widgets/parameter_editor.h"

#include <QCheckBox>
#include <QComboBox>
#include <QDoubleValidator>
#include <QFileDialog>
#include <QHBoxLayout>
#include <QLineEdit>
#include <QLocale>
#include <QRegularExpression>
#include <QSignalBlocker>
#include <QSpinBox>
#include <QToolButton>
#include <QWheelEvent>
#include <cmath>
#include <limits>

#include "ui/bridge/engine_text.h"
#include "ui/widgets/icons.h"
#include "ui/widgets/theme.h"

namespace fettle::ui {

NumberSpinBox::NumberSpinBox(QWidget* parent) : QDoubleSpinBox(parent) {
    setDecimals(12);
    setStepType(QAbstractSpinBox::AdaptiveDecimalStepType);
    setLocale(QLocale::c());
    setKeyboardTracking(false);
    setFocusPolicy(Qt::StrongFocus);
}

QString NumberSpinBox::textFromValue(double value) const {
    return QString::number(value, 'g', 10);
}

double NumberSpinBox::valueFromText(const QString& text) const {
    QString number = text;
    number.remove(suffix());
    return number.trimmed().toDouble();
}

QValidator::State NumberSpinBox::validate(QString& input, int&) const {
    QString number = input;
    number.remove(suffix());
    number = number.trimmed();
    bool ok = false;
    const double value = number.toDouble(&ok);
    if (ok) {
        return value >= minimum() && value <= maximum() ? QValidator::Acceptable
                                                        : QValidator::Intermediate;
    }
    static const QRegularExpression partial(
        QStringLiteral("^[-+]?[0-9]*\\.?[0-9]*([eE][-+]?[0-9]*)?$"));
    return partial.match(number).hasMatch() ? QValidator::Intermediate : QValidator::Invalid;
}

// The wheel belongs to the page: a form that scrolls away must not change a number on the way.
void NumberSpinBox::wheelEvent(QWheelEvent* event) {
    hasFocus() ? QDoubleSpinBox::wheelEvent(event) : event->ignore();
}

namespace {

class CalmSpinBox : public QSpinBox {
public:
    explicit CalmSpinBox(QWidget* parent) : QSpinBox(parent) { setFocusPolicy(Qt::StrongFocus); }

protected:
    void wheelEvent(QWheelEvent* event) override {
        hasFocus() ? QSpinBox::wheelEvent(event) : event->ignore();
    }
};

class CalmComboBox : public QComboBox {
public:
    explicit CalmComboBox(QWidget* parent) : QComboBox(parent) { setFocusPolicy(Qt::StrongFocus); }

    // A dozen letters wide at the least, whatever it offers. A size adjust policy says so too, but
    // makes the list that drops down at once: a form of ten would take half its time for that.
    QSize sizeHint() const override { return narrow(QComboBox::sizeHint()); }
    QSize minimumSizeHint() const override { return narrow(QComboBox::minimumSizeHint()); }

protected:
    void wheelEvent(QWheelEvent* event) override {
        hasFocus() ? QComboBox::wheelEvent(event) : event->ignore();
    }

private:
    QSize narrow(QSize hint) const {
        constexpr int kLetters = 12, kFrameAndArrow = 44;
        hint.setWidth(fontMetrics().horizontalAdvance(QLatin1Char('X')) * kLetters +
                      kFrameAndArrow);
        return hint;
    }
};

QHBoxLayout* rowOf(QWidget* editor) {
    auto* row = new QHBoxLayout(editor);
    row->setContentsMargins(0, 0, 0, 0);
    row->setSpacing(4);
    editor->setSizePolicy(QSizePolicy::Expanding, QSizePolicy::Fixed);
    return row;
}

class BoolEditor : public ParameterEditor {
public:
    BoolEditor(const ParameterSchema&, QWidget* parent)
        : ParameterEditor(parent), m_box(new QCheckBox(this)) {
        rowOf(this)->addWidget(m_box, 0, Qt::AlignLeft);
        m_box->setText(tr("on"));
        connect(m_box, &QCheckBox::toggled, this, [this](bool on) { emit edited(on); });
    }
    void setValue(const nlohmann::json& value) override {
        const QSignalBlocker block(m_box);
        m_box->setChecked(value.is_boolean() && value.get<bool>());
    }
    nlohmann::json value() const override { return m_box->isChecked(); }
    QWidget* control() const override { return m_box; }

private:
    QCheckBox* m_box;
};

class IntEditor : public ParameterEditor {
public:
    IntEditor(const ParameterSchema& parameter, QWidget* parent)
        : ParameterEditor(parent), m_box(new CalmSpinBox(this)) {
        rowOf(this)->addWidget(m_box);
        constexpr double top = std::numeric_limits<int>::max();
        m_box->setRange(static_cast<int>(std::max(parameter.minimum.value_or(-top), -top)),
                        static_cast<int>(std::min(parameter.maximum.value_or(top), top)));
        m_box->setStepType(QAbstractSpinBox::AdaptiveDecimalStepType);
        m_box->setGroupSeparatorShown(true);
        m_box->setKeyboardTracking(false);
        if (!parameter.unit.empty()) {
            m_box->setSuffix(QLatin1Char(' ') + engineText(parameter.unit));
        }
        connect(m_box, &QSpinBox::valueChanged, this, [this](int number) { emit edited(number); });
    }
    void setValue(const nlohmann::json& value) override {
        const QSignalBlocker block(m_box);
        m_box->setValue(value.is_number() ? static_cast<int>(value.get<double>()) : 0);
    }
    nlohmann::json value() const override { return m_box->value(); }
    QWidget* control() const override { return m_box; }

private:
    CalmSpinBox* m_box;
};

class DoubleEditor : public ParameterEditor {
public:
    DoubleEditor(const ParameterSchema& parameter, QWidget* parent)
        : ParameterEditor(parent), m_box(new NumberSpinBox(this)) {
        rowOf(this)->addWidget(m_box);
        m_box->setRange(parameter.minimum.value_or(-1e12), parameter.maximum.value_or(1e12));
        if (!parameter.unit.empty()) {
            m_box->setSuffix(QLatin1Char(' ') + engineText(parameter.unit));
        }
        connect(m_box, &QDoubleSpinBox::valueChanged, this,
                [this](double number) { emit edited(number); });
    }
    void setValue(const nlohmann::json& value) override {
        const QSignalBlocker block(m_box);
        m_box->setValue(value.is_number() ? value.get<double>() : 0);
    }
    nlohmann::json value() const override { return m_box->value(); }
    QWidget* control() const override { return m_box; }

private:
    NumberSpinBox* m_box;
};

/// A number that may also be absent (its default is null): an empty line.
class OptionalNumberEditor : public ParameterEditor {
public:
    OptionalNumberEditor(const ParameterSchema& parameter, QWidget* parent)
        : ParameterEditor(parent),
          m_line(new QLineEdit(this)),
          m_integer(parameter.type == ParameterType::Int) {
        rowOf(this)->addWidget(m_line);
        auto* validator =
            new QDoubleValidator(parameter.minimum.value_or(-1e15),
                                 parameter.maximum.value_or(1e15), m_integer ? 0 : 12, m_line);
        validator->setLocale(QLocale::c());
        m_line->setValidator(validator);
        m_line->setPlaceholderText(parameter.unit.empty()
                                       ? tr("not set")
                                       : tr("not set (%1)").arg(engineText(parameter.unit)));
        m_line->setClearButtonEnabled(true);
        connect(m_line, &QLineEdit::editingFinished, this, [this] {
            if (m_line->isModified()) {
                m_line->setModified(false);
                emit edited(value());
            }
        });
    }
    void setValue(const nlohmann::json& value) override {
        m_line->setText(value.is_number() ? QString::number(value.get<double>(), 'g', 15)
                                          : QString());
    }
    nlohmann::json value() const override {
        bool ok = false;
        const double number = m_line->text().trimmed().toDouble(&ok);
        if (!ok) {
            return nullptr;
        }
        return m_integer ? nlohmann::json(static_cast<std::int64_t>(std::llround(number)))
                         : nlohmann::json(number);
    }
    QWidget* control() const override { return m_line; }

private:
    QLineEdit* m_line;
    bool m_integer;
};

class ChoiceEditor : public ParameterEditor {
public:
    ChoiceEditor(const ParameterSchema& parameter, QWidget* parent)
        : ParameterEditor(parent), m_box(new CalmComboBox(this)) {
        rowOf(this)->addWidget(m_box);
        for (const ParameterChoice& choice : parameter.choices) {
            m_box->addItem(engineText(choice.title.empty() ? choice.value : choice.title),
                           QString::fromStdString(choice.value));
            m_box->setItemData(m_box->count() - 1, engineText(choice.help), Qt::ToolTipRole);
        }
        connect(m_box, &QComboBox::currentIndexChanged, this, [this] { emit edited(value()); });
    }
    void setValue(const nlohmann::json& value) override {
        const QSignalBlocker block(m_box);
        const QString text =
            QString::fromStdString(value.is_string() ? value.get<std::string>() : value.dump());
        int index = m_box->findData(text);
        if (index < 0 && !value.is_null()) {  // a recipe of another version: show what it says,
                                              // marked by validation
            m_box->addItem(tr("%1 (unknown)").arg(text), text);
            index = m_box->count() - 1;
        }
        m_box->setCurrentIndex(index);
    }
    nlohmann::json value() const override { return m_box->currentData().toString().toStdString(); }
    QWidget* control() const override { return m_box; }
    QString note() const override { return m_box->currentData(Qt::ToolTipRole).toString(); }

private:
    CalmComboBox* m_box;
};

class TextEditor : public ParameterEditor {
public:
    TextEditor(const ParameterSchema&, QWidget* parent)
        : ParameterEditor(parent), m_line(new QLineEdit(this)) {
        rowOf(this)->addWidget(m_line);
        connect(m_line, &QLineEdit::textEdited, this,
                [this](const QString& text) { emit edited(text.toStdString()); });
    }
    void setValue(const nlohmann::json& value) override {
        const QString text = value.is_null()     ? QString()
                             : value.is_string() ? QString::fromStdString(value.get<std::string>())
                                                 : QString::fromStdString(value.dump());
        if (text != m_line->text()) {
            m_line->setText(text);
        }
    }
    nlohmann::json value() const override { return m_line->text().toStdString(); }
    QWidget* control() const override { return m_line; }

protected:
    QLineEdit* m_line;
};

/// Patterns of tensor names, separated by commas.
class PatternListEditor : public ParameterEditor {
public:
    PatternListEditor(const ParameterSchema&, QWidget* parent)
        : ParameterEditor(parent), m_line(new QLineEdit(this)) {
        rowOf(this)->addWidget(m_line);
        m_line->setPlaceholderText(tr("e.g. lm_head, *.down_proj"));
        connect(m_line, &QLineEdit::textEdited, this, [this] { emit edited(value()); });
    }
    void setValue(const nlohmann::json& list) override {
        if (list == value()) {
            return;  // leaves a half-typed "a, " alone
        }
        QStringList patterns;
        if (list.is_array()) {
            for (const nlohmann::json& pattern : list) {
                patterns << QString::fromStdString(pattern.is_string() ? pattern.get<std::string>()
                                                                       : pattern.dump());
            }
        }
        m_line->setText(patterns.join(QStringLiteral(", ")));
    }
    nlohmann::json value() const override {
        nlohmann::json list = nlohmann::json::array();
        static const QRegularExpression separators(QStringLiteral("[,;\\s]+"));
        for (const QString& pattern : m_line->text().split(separators, Qt::SkipEmptyParts)) {
            list.push_back(pattern.toStdString());
        }
        return list;
    }
    QWidget* control() const override { return m_line; }

private:
    QLineEdit* m_line;
};

class FileEditor : public TextEditor {
public:
    FileEditor(const ParameterSchema& parameter, QWidget* parent) : TextEditor(parameter, parent) {
        m_line->setPlaceholderText(tr("file or folder"));
        auto* browse = new QToolButton(this);
        browse->setIcon(themedIcon(QStringLiteral("folder")));
        browse->setToolTip(tr("Choose a file…"));
        browse->setAccessibleName(tr("Choose a file for %1").arg(engineText(parameter.title)));
        layout()->addWidget(browse);
        connect(browse, &QToolButton::clicked, this, [this] {
            const QString path =
                QFileDialog::getOpenFileName(this, tr("Choose a file"), m_line->text());
            if (!path.isEmpty()) {
                m_line->setText(path);
                emit edited(value());
            }
        });
    }
};

}  // namespace

ParameterEditor* makeParameterEditor(const ParameterSchema& parameter, QWidget* parent) {
    switch (parameter.type) {
        case ParameterType::Bool:
            return new BoolEditor(parameter, parent);
        case ParameterType::Int:
        case ParameterType::Double:
            if (parameter.defaultValue.is_null()) {
                return new OptionalNumberEditor(parameter, parent);
            }
            return parameter.type == ParameterType::Int
                       ? static_cast<ParameterEditor*>(new IntEditor(parameter, parent))
                       : new DoubleEditor(parameter, parent);
        case ParameterType::Choice:
            return new ChoiceEditor(parameter, parent);
        case ParameterType::PatternList:
            return new PatternListEditor(parameter, parent);
        case ParameterType::File:
            return new FileEditor(parameter, parent);
        case ParameterType::Text:
            break;
    }
    return new TextEditor(parameter, parent);
}

}  // namespace fettle::ui
