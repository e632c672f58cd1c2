-- The events of users: by what was extracted when they were stored, and by where the user of their source stands now.
source = %(source)s AND (user_id = ANY (%(users)s::text[]) OR {user} = ANY (%(users)s::text[]))
