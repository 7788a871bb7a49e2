// The experiments as a list that costs nothing to hand on: records are shared and never change in
// place, so that a page may keep the list of a moment while the database moves on.
#pragma once

#include <QList>
#include <algorithm>
#include <cstddef>
#include <iterator>
#include <memory>
#include <utility>
#include <vector>

#include "engine/experiment/experiment_record.h"

namespace fettle::ui {

class ExperimentList {
    using Shared = std::shared_ptr<const ExperimentRecord>;

public:
    /// Walks the records; what it points to lives as long as any list that holds it.
    class Iterator {
    public:
        using iterator_category = std::random_access_iterator_tag;
        using value_type = ExperimentRecord;
        using difference_type = std::ptrdiff_t;
        using pointer = const ExperimentRecord*;
        using reference = const ExperimentRecord&;

        Iterator() = default;
        explicit Iterator(const Shared* at) : m_at(at) {}
        reference operator*() const { return **m_at; }
        pointer operator->() const { return m_at->get(); }
        reference operator[](difference_type n) const { return *m_at[n]; }
        Iterator& operator++() { return *this += 1; }
        Iterator& operator--() { return *this += -1; }
        Iterator operator++(int) { return Iterator(m_at++); }
        Iterator operator--(int) { return Iterator(m_at--); }
        Iterator& operator+=(difference_type n) {
            m_at += n;
            return *this;
        }
        Iterator& operator-=(difference_type n) { return *this += -n; }
        friend Iterator operator+(Iterator i, difference_type n) { return i += n; }
        friend Iterator operator+(difference_type n, Iterator i) { return i += n; }
        friend Iterator operator-(Iterator i, difference_type n) { return i -= n; }
        friend difference_type operator-(Iterator a, Iterator b) { return a.m_at - b.m_at; }
        auto operator<=>(const Iterator&) const = default;

    private:
        const Shared* m_at = nullptr;
    };

    ExperimentList() = default;
    ExperimentList(std::vector<ExperimentRecord> records) {
        m_items.reserve(static_cast<qsizetype>(records.size()));
        for (ExperimentRecord& record : records) {
            append(std::move(record));
        }
    }

    std::size_t size() const { return static_cast<std::size_t>(m_items.size()); }
    bool empty() const { return m_items.isEmpty(); }
    const ExperimentRecord& operator[](std::size_t i) const {
        return *m_items[static_cast<qsizetype>(i)];
    }
    const ExperimentRecord& front() const { return *m_items.constFirst(); }
    const ExperimentRecord& back() const { return *m_items.constLast(); }
    Iterator begin() const { return Iterator(m_items.constData()); }
    Iterator end() const { return Iterator(m_items.constData() + m_items.size()); }
    auto rbegin() const { return std::reverse_iterator(end()); }
    auto rend() const { return std::reverse_iterator(begin()); }

    void append(ExperimentRecord record) {
        m_items.append(std::make_shared<const ExperimentRecord>(std::move(record)));
    }
    void replace(std::size_t i, ExperimentRecord record) {
        m_items[static_cast<qsizetype>(i)] =
            std::make_shared<const ExperimentRecord>(std::move(record));
    }
    void insert(std::size_t i, ExperimentRecord record) {
        m_items.insert(static_cast<qsizetype>(i),
                       std::make_shared<const ExperimentRecord>(std::move(record)));
    }
    void remove(std::size_t i) { m_items.removeAt(static_cast<qsizetype>(i)); }
    template <typename Predicate>
    void removeIf(Predicate predicate) {
        m_items.removeIf([&](const Shared& item) { return predicate(*item); });
    }

private:
    QList<Shared> m_items;
};

}  // namespace fettle::ui
