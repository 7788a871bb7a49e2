// Stars, tags and notes of experiments, each changed by itself, so that the window and a command
// line at work on one database do not undo each other's. On the thread of its Database. All methods
// throw StorageError: Missing for an experiment that is not there.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/experiment/annotations.h"
#include "storage/database.h"

namespace fettle::storage {

class AnnotationRepository {
public:
    explicit AnnotationRepository(Database& database) : m_database(database) {}

    void setFavourite(std::int64_t experiment, bool favourite);
    /// An empty note takes it away.
    void setNote(std::int64_t experiment, const std::string& note);
    /// The tag is made normal first (see normalTag); one of which nothing is left changes nothing.
    void addTag(std::int64_t experiment, const std::string& tag);
    void removeTag(std::int64_t experiment, const std::string& tag);
    /// All three at once, in place of what was there.
    void set(std::int64_t experiment, const Annotations& annotations);

    /// Every tag of experiments that are not removed, in the order of the alphabet.
    std::vector<std::string> allTags() const;

private:
    void requireExperiment(std::int64_t experiment) const;

    Database& m_database;
};

}  // namespace fettle::storage
