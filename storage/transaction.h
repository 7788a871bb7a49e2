// A unit of writing: all of it is stored or nothing. Rolled back when destroyed before commit().
#pragma once

#include "storage/database.h"

namespace fettle::storage {

/// Takes the write lock at once, so that no later statement of it can fail for being second. Inside
/// another Transaction of the same connection it becomes a part of that one (a savepoint).
class Transaction {
public:
    explicit Transaction(Database& database);
    ~Transaction();
    Transaction(const Transaction&) = delete;
    Transaction& operator=(const Transaction&) = delete;

    void commit();

private:
    Database& m_database;
    bool m_nested;
    bool m_open = true;
};

}  // namespace fettle::storage
